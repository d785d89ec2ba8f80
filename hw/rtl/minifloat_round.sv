// x over 2**SHIFT, rounded to the grid of a minifloat and limited to -BOTTOM..TOP (codes without sign): ties to even if EVEN, else up
// (towards +infinity; then SHIFT is at least 1). The leading one is found from the top, by halves, while the number is shifted down.
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
  localparam integer POINT = SHIFT + 1;  // a zero bit more below, so that there always is a bit behind the binary point
  localparam integer STEPS = IN - SHIFT - M > 1 ? IN - SHIFT - M - 1 : 1;  // the largest
  localparam integer S = $clog2(STEPS + 1);
  localparam integer N = (IN + 1 > POINT + M + 1 ? IN + 1 : POINT + M + 1);

  wire minus = x[IN-1];
  // For ties up a negative number is taken as -1 - x: its ties fall just below the half.
  wire [IN-1:0] size = EVEN != 0 ? (minus ? -x : x) : (minus ? ~x : x);

  wire [N*(S+1)-1:0] stage;
  wire [S-1:0] step, lost;
  assign stage[S*N+:N] = {size, 1'b0};
  genvar i;
  generate
    for (i = S - 1; i >= 0; i = i - 1) begin : g_stage
      wire [N-1:0] from = stage[(i+1)*N+:N];
      assign step[i] = |(from >> (POINT + M + (1 << i)));
      assign stage[i*N+:N] = step[i] ? from >> (1 << i) : from;
      assign lost[i] = step[i] && |(from & ((1 << (1 << i)) - 1));
    end
  endgenerate
  wire [M:0] kept = stage[POINT+:M+1];
  wire half = stage[POINT-1];
  wire rest = |lost || |(stage[N-1:0] & ((1 << (POINT - 1)) - 1));
  wire up = EVEN != 0 ? half && (rest || kept[0]) : half;
  // The leading one of a normal significand carries into the exponent field.
  wire [S+M:0] code = {step, {M{1'b0}}} + kept + up;
  wire [S+M:0] limit = minus ? BOTTOM : TOP;
  wire [E+M-1:0] magnitude = code > limit ? limit : code;
  assign y = {minus && magnitude != 0, magnitude};
endmodule
