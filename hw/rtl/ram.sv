// A memory with a port to write and one to read, behind a register. STYLE "block", "ultra" or "distributed"; a single word is a register.
module ram #(
    parameter integer DEPTH = 256,
    parameter integer WIDTH = 8,
    parameter STYLE = "block",
    parameter integer S = DEPTH > 1 ? $clog2(DEPTH) : 1
) (
    input clk,
    input write,
    input [S-1:0] to,
    input [WIDTH-1:0] in_data,
    input [S-1:0] from,
    output reg [WIDTH-1:0] q
);
  generate
    if (DEPTH == 1) begin : g_register
      reg [WIDTH-1:0] word;
      always @(posedge clk) begin
        if (write) word <= in_data;
        q <= word;
      end
    end else if (STYLE == "block") begin : g_block
      (* ram_style = "block", no_rw_check *) reg [WIDTH-1:0] words[0:DEPTH-1];
      always @(posedge clk) begin
        if (write) words[to] <= in_data;
        q <= words[from];
      end
    end else if (STYLE == "ultra") begin : g_ultra
      (* ram_style = "ultra", no_rw_check *) reg [WIDTH-1:0] words[0:DEPTH-1];
      always @(posedge clk) begin
        if (write) words[to] <= in_data;
        q <= words[from];
      end
    end else begin : g_distributed
      (* ram_style = "distributed", no_rw_check *) reg [WIDTH-1:0] words[0:DEPTH-1];
      always @(posedge clk) begin
        if (write) words[to] <= in_data;
        q <= words[from];
      end
    end
  endgenerate
endmodule
