// In front of an input: words pass but the first one of a frame of WORDS, which waits until its port may begin (`open`).
module frame_gate #(
    parameter integer WORDS = 4
) (
    input clk,
    input reset,
    input open,
    output begins,
    input in_valid,
    output in_ready,
    output out_valid,
    input out_ready
);
  localparam integer S = WORDS > 1 ? $clog2(WORDS) : 1;
  reg [S-1:0] place;
  wire first = place == 0;
  assign out_valid = in_valid && (!first || open);
  assign in_ready = out_ready && out_valid;
  assign begins = in_ready && first;
  always @(posedge clk)
    if (reset) place <= 0;
    else if (in_ready) place <= place == S'(WORDS - 1) ? {S{1'b0}} : place + 1'b1;
endmodule
