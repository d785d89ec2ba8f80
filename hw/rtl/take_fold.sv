// Of each of PLACES windows the terms of fold f: BITS bits, of FOLDS that follow one another.
module take_fold #(
    parameter integer PLACES = 2,
    parameter integer FOLDS = 2,
    parameter integer BITS = 8
) (
    input [PLACES*FOLDS*BITS-1:0] windows,
    input [(FOLDS > 1 ? $clog2(FOLDS) : 1)-1:0] f,
    output [PLACES*BITS-1:0] x
);
  generate
    genvar q;
    for (q = 0; q < PLACES; q = q + 1) begin : g_place
      wire [FOLDS*BITS-1:0] window = windows[q*FOLDS*BITS+:FOLDS*BITS];
      assign x[q*BITS+:BITS] = window[f*BITS+:BITS];
    end
  endgenerate
endmodule
