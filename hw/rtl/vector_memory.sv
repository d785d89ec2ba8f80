// A vector of DEPTH words: kept as it comes in, and read again; x is what comes in or the word that was kept, a cycle later.
module vector_memory #(
    parameter integer DEPTH = 4,
    parameter integer WIDTH = 8,
    parameter integer S = DEPTH > 1 ? $clog2(DEPTH) : 1
) (
    input clk,
    input fresh,
    input [S-1:0] address,
    input [WIDTH-1:0] in_data,
    output reg [WIDTH-1:0] x
);
  (* ram_style = "distributed" *) reg [WIDTH-1:0] words[0:DEPTH-1];
  wire [WIDTH-1:0] word = words[address];
  always @(posedge clk) begin
    if (fresh) words[address] <= in_data;
    x <= fresh ? in_data : word;
  end
endmodule
