// x over 2**SHIFT, rounded to the grid of a minifloat and limited to -BOTTOM..TOP (codes without sign): ties to even if EVEN, else up
// (towards +infinity; then SHIFT is at least 1). A negative x stays as it is: its inverted bits are -1 - x, which has the same code up to a
// different rounding. The leading digit is found from the top, by halves, while the number is shifted down: after the stage of 2**i
// places M + 2**i bits are left in front of the point, one behind it, and whether any lower one was set.
module minifloat_round #(
    parameter integer IN = 16,
    parameter integer SHIFT = 0,
    parameter integer E = 4,
    parameter integer M = 3,
    parameter EVEN = 1,
    parameter integer TOP = (1 << (E + M)) - 1,
    parameter integer BOTTOM = TOP
) (
    input signed [IN-1:0] x,
    output [E+M:0] y
);
  localparam integer STEPS = IN - SHIFT - M > 1 ? IN - SHIFT - M - 1 : 1;  // the largest
  localparam integer S = $clog2(STEPS + 1);
  localparam integer W = IN - SHIFT + 1 > M + 2 ? IN - SHIFT + 1 : M + 2;  // bits in front of the point and the one behind it

  wire minus = x[IN-1];
  wire signed [IN:0] longer = {x, 1'b0};

  wire [W*(S+1)-1:0] stage;
  wire [S-1:0] step;
  wire [S:0] below;
  assign stage[S*W+:W] = longer >>> SHIFT;
  assign below[S] = |(longer & ((1 << SHIFT) - 1));
  genvar i;
  generate
    for (i = S - 1; i >= 0; i = i - 1) begin : g_stage
      localparam integer LEFT = M + 1 + (1 << i) < W ? M + 1 + (1 << i) : W;
      wire signed [W-1:0] from = stage[(i+1)*W+:W];
      assign step[i] = |((from ^ {W{minus}}) >> LEFT);
      wire [LEFT-1:0] to = step[i] ? from >>> (1 << i) : from;
      assign stage[i*W+:W] = {{W{minus}}, to};
      assign below[i] = below[i+1] || step[i] && |(from & ((1 << (1 << i)) - 1));
    end
  endgenerate
  wire [M:0] kept = stage[1+:M+1] ^ {M + 1{minus}};
  wire half = stage[0];
  // Below a half that is set in -1 - x everything rounds up; one that is not set is a tie if x has only zeros below it.
  wire tie = half && !below[0];
  wire up = EVEN != 0 && tie ? kept[0] : half ^ minus;
  // The leading one of a normal significand carries into the exponent field.
  wire [S+M:0] code = {step, {M{1'b0}}} + kept + up;
  wire [S+M:0] limit = minus ? BOTTOM : TOP;
  wire [E+M-1:0] magnitude = code > limit ? limit : code;
  assign y = {minus && magnitude != 0, magnitude};
endmodule
