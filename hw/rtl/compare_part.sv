// A piece of the comparison of a number with a constant: whether its bits here are above CUT's, or equal and `below` is true. FIRST: there
// is nothing below. TURN: the highest bit counts inverted (the sign of a two's complement number). One LUT6, and meant to stay one:
// without `keep_hierarchy` mappers do parts of long comparisons twice to save a level.
(* keep_hierarchy = "yes" *)
module compare_part #(
    parameter integer BITS = 5,
    parameter [BITS-1:0] CUT = 0,
    parameter FIRST = 0,
    parameter TURN = 0
) (
    input [BITS-1:0] a,
    input below,
    output reached
);
  localparam [BITS-1:0] TURNED = TURN != 0 ? {1'b1, {(BITS - 1) {1'b0}}} : {BITS{1'b0}};
  // By the number and `below`: from the pair on that reaches the constant.
  localparam [(2<<BITS)-1:0] REACHED = {(2 << BITS) {1'b1}} << {CUT, FIRST == 0};
  assign reached = REACHED[{a ^ TURNED, below}];
endmodule
