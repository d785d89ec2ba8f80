// x over 2**SHIFT, rounded to the grid of a minifloat and limited to -BOTTOM..TOP (codes without sign): ties to even if EVEN, else up
// (towards +infinity; then SHIFT is at least 1). A negative x stays as it is: its inverted bits are -1 - x, which has the same code up to a
// different rounding. The leading digit is found from the top, by quarters, while the number is shifted down.
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
  localparam integer P = (S + 1) / 2;
  localparam integer W = IN - SHIFT + 1 > M + 2 ? IN - SHIFT + 1 : M + 2;  // bits in front of the point and the one behind it

  wire minus = x[IN-1];
  wire signed [IN:0] longer = {x, 1'b0};

  wire [W*(P+1)-1:0] stage  /* verilator split_var */;
  wire [2*P-1:0] step  /* verilator split_var */;
  wire [P:0] below  /* verilator split_var */;
  assign stage[P*W+:W] = W'(longer >>> SHIFT);
  assign below[P] = EVEN != 0 && |(longer & ((1 << SHIFT) - 1));
  genvar i;
  generate
    for (i = P - 1; i >= 0; i = i - 1) begin : g_stage
      localparam integer FROM = i < P - 1 && M + 1 + (4 << 2 * i) < W ? M + 1 + (4 << 2 * i) : W;
      localparam integer TO = M + 1 + (1 << 2 * i) < W ? M + 1 + (1 << 2 * i) : W;
      wire [FROM-1:0] digits = stage[(i+1)*W+:FROM] ^ {FROM{minus}};
      assign step[2*i+1] = |(digits >> (TO + (1 << 2 * i)));
      assign step[2*i] = step[2*i+1] ? |(digits >> (TO + (2 << 2 * i))) : |(digits >> TO);
      minifloat_move #(.FROM(FROM), .TO(TO), .SHIFT(1 << 2 * i), .EVEN(EVEN)) quarter (
          .from(stage[(i+1)*W+:FROM]), .step(step[2*i+:2]), .lower(below[i+1]), .to(stage[i*W+:TO]), .below(below[i]));
    end
  endgenerate
  wire [M:0] kept = stage[1+:M+1] ^ {M + 1{minus}};
  wire half = stage[0];
  // Below a half that is set in -1 - x everything rounds up; one that is not set is a tie if x has only zeros below it.
  wire up = EVEN != 0 && half && !below[0] ? kept[0] : half ^ minus;
  // The leading one of a normal significand carries into the exponent field; `up` in front of both is the carry into the one adder.
  wire [S+M+1:0] sum = {step[S-1:0], {M{1'b0}}, up} + (S + M + 2)'({kept, up});
  wire [S+M:0] code = sum[S+M+1:1];
  wire [S+M:0] limit = (S + M + 1)'(minus ? BOTTOM : TOP);
  wire [E+M-1:0] magnitude = {1'b0, code} > {1'b0, limit} ? (E + M)'(limit) : (E + M)'(code);
  assign y = {minus && magnitude != 0, magnitude};
endmodule

// Down by `step` times SHIFT places; below: whether a bit was set in what is dropped, now or before. This logic stays apart from the search
// for the digit: a mapper that may shape both at once computes the choice again for every bit, and nobody can tell how often.
(* keep_hierarchy *)
module minifloat_move #(
    parameter integer FROM = 21,
    parameter integer TO = 9,
    parameter integer SHIFT = 4,
    parameter EVEN = 1
) (
    input signed [FROM-1:0] from,
    input [1:0] step,
    input lower,
    output [TO-1:0] to,
    output below
);
  wire signed [FROM-1:0] near = step[0] ? from >>> SHIFT : from;
  wire signed [FROM-1:0] moved = step[1] ? near >>> 2 * SHIFT : near;
  assign to = moved[TO-1:0];
  wire [2:0] set;  // in each of the parts that may be dropped
  assign set[0] = |(from & ((1 << SHIFT) - 1));
  assign set[1] = |((from >> SHIFT) & ((1 << SHIFT) - 1));
  assign set[2] = |((from >> 2 * SHIFT) & ((1 << SHIFT) - 1));
  assign below = EVEN != 0 && (lower || |step && set[0] || step[1] && set[1] || &step && set[2]);
endmodule
