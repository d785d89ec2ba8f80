// A piece of the comparison of a signed number with one of K constants, which `place` chooses: as compare_part.sv, in one LUT6 too. FROM:
// the lowest bit of the piece; FIRST: nothing is below it; LAST: it has the sign. At places beyond the constants none is reached.
(* keep_hierarchy = "yes" *)
module chosen_part #(
    parameter integer BITS = 2,
    parameter integer PLACES = 3,
    parameter integer K = 8,
    parameter integer ACC = 16,
    parameter [K*ACC-1:0] CUTS = 0,
    parameter integer FROM = 0,
    parameter FIRST = 0,
    parameter LAST = 0
) (
    input [BITS-1:0] a,
    input [PLACES-1:0] place,
    input below,
    output reached
);
  localparam integer EACH = 2 << BITS;  // by the number and `below`
  localparam [BITS-1:0] TURNED = LAST != 0 ? {1'b1, {(BITS - 1) {1'b0}}} : {BITS{1'b0}};
  wire [(EACH<<PLACES)-1:0] all;
  genvar p;
  generate
    for (p = 0; p < 1 << PLACES; p = p + 1) begin : g_place
      if (p < K) begin : g_constant
        localparam [BITS-1:0] CUT = CUTS[p*ACC+FROM+:BITS] ^ TURNED;
        assign all[p*EACH+:EACH] = {EACH{1'b1}} << {CUT, FIRST == 0};
      end else begin : g_none
        assign all[p*EACH+:EACH] = {EACH{1'b0}};
      end
    end
  endgenerate
  assign reached = all[{place, a ^ TURNED, below}];
endmodule
