// A vector of DEPTH words: kept as it comes in, and read again; x is what comes in or the word that was kept, a cycle later. STYLE
// "distributed" or "block".
module vector_memory #(
    parameter integer DEPTH = 4,
    parameter integer WIDTH = 8,
    parameter STYLE = "distributed",
    parameter integer S = DEPTH > 1 ? $clog2(DEPTH) : 1
) (
    input clk,
    input fresh,
    input [S-1:0] address,
    input [WIDTH-1:0] in_data,
    output [WIDTH-1:0] x
);
  generate
    if (STYLE == "block") begin : g_block
      (* ram_style = "block" *) reg [WIDTH-1:0] words[0:DEPTH-1];
      reg [WIDTH-1:0] word, came;
      reg now;
      always @(posedge clk) begin
        if (fresh) words[address] <= in_data;
        word <= words[address];
        came <= in_data;
        now <= fresh;
      end
      assign x = now ? came : word;
    end else begin : g_distributed
      (* ram_style = "distributed" *) reg [WIDTH-1:0] words[0:DEPTH-1];
      wire [WIDTH-1:0] word = words[address];
      reg [WIDTH-1:0] held;
      always @(posedge clk) begin
        if (fresh) words[address] <= in_data;
        held <= fresh ? in_data : word;
      end
      assign x = held;
    end
  endgenerate
endmodule
