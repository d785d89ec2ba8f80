// start + the sum of TERMS products of a number x of A bits by two bits of a weight, its digit at base 4: 0, x, 2 x or its triple
// (triples.sv). Every term is an adder whose LUTs choose the multiple too. HIGHEST: the digit with the sign of a weight, -2 to 1, that takes
// no triple: negative multiples are inverted, and the 1 that this lacks comes in below. Multiples with a sign have it inverted instead of
// repeated: of RAISED of them that is 2**PLACE more, which start, whose bits from PLACE up are its sign, loses without an adder.
module digit_sum #(
    parameter integer TERMS = 4,
    parameter integer A = 8,
    parameter SIGNED = 0,
    parameter HIGHEST = 0,
    parameter integer S = A + 5
) (
    input [S-1:0] start,
    input [TERMS*2-1:0] digits,
    input [TERMS*A-1:0] x,
    input [TERMS*(A+2)-1:0] triple,
    output [S-1:0] y
);
  localparam integer RAISED = HIGHEST == 0 && SIGNED == 0 ? 0 : 1 << ($clog2(TERMS + 1) - 1);
  localparam integer PLACE = A + 1 + $clog2(RAISED + (RAISED == 0 ? 1 : 0));
  wire [S-1:0] first;
  generate
    if (RAISED != 0) begin : g_less
      assign first = {{S - PLACE{1'b1}}, start[PLACE-1:0]} ^ (S'(start[S-1]) << PLACE);
    end else begin : g_start
      assign first = start;
    end
    genvar t;
    for (t = 0; t < TERMS; t = t + 1) begin : g_term
      wire [1:0] digit = digits[t*2+:2];
      wire [A-1:0] number = x[t*A+:A];
      wire sign = SIGNED != 0 ? number[A-1] : 1'b0;
      wire [A+1:0] one = {{2{sign}}, number};
      wire [A+1:0] two = {sign, number, 1'b0};
      wire [S-1:0] sum, next;
      if (t == 0) begin : g_first
        assign sum = first;
      end else begin : g_later
        assign sum = g_term[t-1].next;
      end
      wire [A+1:0] part;
      wire signed [S-1:0] wide = S'($signed(part));
      wire [S-1:0] addend = t >= TERMS - RAISED ? S'({~part[A+1], part[A:0]}) : HIGHEST != 0 || SIGNED != 0 ? wide : S'(part);
      if (HIGHEST != 0) begin : g_highest
        wire [S:0] made = {sum, 1'b1} + {addend, digit[1]};
        assign part = digit[1] ? ~(digit[0] ? one : two) : digit[0] ? one : {A + 2{1'b0}};
        assign next = made[S:1];
      end else begin : g_lower
        assign part = digit[1] ? (digit[0] ? triple[t*(A+2)+:A+2] : two) : digit[0] ? one : {A + 2{1'b0}};
        assign next = sum + addend;
      end
    end
  endgenerate
  assign y = g_term[TERMS-1].next;
endmodule
