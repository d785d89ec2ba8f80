// A loop counter: 0, 1, ... LIMIT - 1 and again, a step where `step` is true; with `restart` it begins anew before its end.
module counter #(
    parameter integer LIMIT = 8,
    parameter integer S = LIMIT > 1 ? $clog2(LIMIT) : 1
) (
    input clk,
    input reset,
    input step,
    input restart,
    output reg [S-1:0] place,
    output ended
);
  localparam [S-1:0] END = S'(LIMIT - 1);
  assign ended = place == END;
  always @(posedge clk)
    if (reset) place <= 0;
    else if (step) place <= ended || restart ? {S{1'b0}} : place + 1'b1;
endmodule
