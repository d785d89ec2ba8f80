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
  wire [BITS-1:0] value = TURN != 0 ? a ^ {1'b1, {(BITS - 1) {1'b0}}} : a;
  wire [BITS:0] chain;
  assign chain[0] = FIRST != 0 ? 1'b1 : below;
  genvar i;
  generate
    for (i = 0; i < BITS; i = i + 1) begin : g_bit
      assign chain[i+1] = CUT[i] ? value[i] & chain[i] : value[i] | chain[i];
    end
  endgenerate
  assign reached = chain[BITS];
endmodule
