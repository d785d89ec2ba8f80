// The element of DEPTH enabled cycles ago. STYLE "shift" (shift registers in LUTs), "distributed" or "block" (a memory with one counter).
module line_buffer #(
    parameter integer DEPTH = 32,
    parameter integer WIDTH = 8,
    parameter STYLE = "block",
    parameter integer S = $clog2(DEPTH)
) (
    input clk,
    input enable,
    input [WIDTH-1:0] x,
    output [WIDTH-1:0] y
);
  generate
    if (STYLE == "shift" || DEPTH == 1) begin : g_shift
      reg [DEPTH*WIDTH-1:0] line;
      always @(posedge clk) if (enable) line <= (DEPTH * WIDTH)'({line, x});
      assign y = line[DEPTH*WIDTH-1-:WIDTH];
    end else begin : g_memory
      // One place is written while the oldest is read into the output register.
      localparam [S-1:0] LAST = S'(DEPTH - 1);
      reg [S-1:0] place = 0;
      wire [S-1:0] next = place == LAST ? 0 : place + 1'b1;
      reg [WIDTH-1:0] data;
      assign y = data;
      always @(posedge clk) if (enable) place <= next;
      if (STYLE == "block") begin : g_block
        (* ram_style = "block", no_rw_check *) reg [WIDTH-1:0] words[0:(1<<S)-1];
        always @(posedge clk)
          if (enable) begin
            words[place] <= x;
            data <= words[next];
          end
      end else begin : g_distributed
        (* ram_style = "distributed", no_rw_check *) reg [WIDTH-1:0] words[0:DEPTH-1];
        always @(posedge clk)
          if (enable) begin
            words[place] <= x;
            data <= words[next];
          end
      end
    end
  endgenerate
endmodule
