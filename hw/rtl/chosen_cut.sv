// The lowest bit of how many constants a signed number reaches, behind the others, which are its place: it is compared with the one
// constant that is left there. CUTS: ascending, of place 0 in the low bits; K: how many, at places beyond them none is reached.
module chosen_cut #(
    parameter integer ACC = 16,
    parameter integer PLACES = 2,
    parameter integer K = 4,
    parameter [K*ACC-1:0] CUTS = 0
) (
    input [ACC-1:0] a,
    input [PLACES-1:0] place,
    output [PLACES:0] y
);
  localparam integer EACH = 5 - PLACES;  // bits in a LUT6, beside place and what is below

  // Below it all constants are 0.
  function automatic integer lowest(input integer most);
    integer i, k;
    lowest = most;
    for (i = most; i >= 0; i = i - 1) for (k = 0; k < K; k = k + 1) if (CUTS[k*ACC+i]) lowest = i;
  endfunction
  localparam integer LOW = lowest(ACC - 1);
  localparam integer PARTS = 1 + (ACC - LOW < 2 ? 0 : (ACC - LOW - 2) / EACH);

  wire [PARTS:0] link;
  assign link[0] = 1'b1;
  genvar i;
  generate
    for (i = 0; i < PARTS; i = i + 1) begin : g_part
      localparam integer FROM = i == 0 ? LOW : LOW + 1 + EACH * i;
      localparam integer BITS = i == PARTS - 1 ? ACC - FROM : i == 0 ? EACH + 1 : EACH;
      chosen_part #(
          .BITS(BITS), .PLACES(PLACES), .K(K), .ACC(ACC), .CUTS(CUTS), .FROM(FROM), .FIRST(i == 0), .LAST(i == PARTS - 1)
      ) part (
          .a(a[FROM+:BITS]), .place(place), .below(link[i]), .reached(link[i+1])
      );
    end
  endgenerate
  assign y = {place, link[PARTS]};
endmodule
