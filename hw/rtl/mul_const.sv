// y = VALUE * a for a constant: a chain of shifted adders over signed digits, lowest digit first, so that the bits below a digit are wires.
// Zero and powers of two are wires. The digits are the binary ones unless the canonical signed-digit form has fewer of them.
module mul_const #(
    parameter integer A = 8,
    parameter SIGNED = 1,  // whether a is
    parameter signed [63:0] VALUE = 3,
    parameter integer Y = A + 65
) (
    input  [A-1:0] a,
    output signed [Y-1:0] y
);
  localparam [63:0] SIZE = VALUE < 0 ? -VALUE : VALUE;
  localparam [65:0] TRIPLE = 3 * {2'b0, SIZE};
  localparam [64:0] PLUS_CSD = 65'((TRIPLE & ~{2'b0, SIZE}) >> 1);
  localparam [64:0] MINUS_CSD = 65'((~TRIPLE & {2'b0, SIZE}) >> 1);
  localparam BINARY = ones({1'b0, SIZE}) <= ones(PLUS_CSD | MINUS_CSD);
  localparam [64:0] PLUS = BINARY ? {1'b0, SIZE} : PLUS_CSD;
  localparam [64:0] MINUS = BINARY ? 65'b0 : MINUS_CSD;
  localparam [64:0] DIGITS = PLUS | MINUS;
  localparam integer COUNT = ones(DIGITS);
  localparam integer LOW = lowest(DIGITS);
  localparam integer TOP = highest(DIGITS);
  localparam integer X = A + (SIGNED != 0 ? 0 : 1);
  // The chain works with the lowest digit as +1. Where it is -1 in the product, the highest digit, if that is +1, turns the sign in its
  // subtraction; if all is negative, the product is turned at the end.
  localparam LOWEST_MINUS = MINUS[LOW] ^ (VALUE < 0);
  localparam TURNED = LOWEST_MINUS && VALUE > 0;
  localparam NEGATED = LOWEST_MINUS && VALUE < 0;

  function automatic integer ones(input [64:0] v);
    integer i;
    ones = 0;
    for (i = 0; i < 65; i = i + 1) ones = ones + {31'b0, v[i]};
  endfunction
  function automatic integer lowest(input [64:0] v);
    integer i;
    lowest = 0;
    for (i = 64; i >= 0; i = i - 1) if (v[i]) lowest = i;
  endfunction
  function automatic integer highest(input [64:0] v);
    integer i;
    highest = 0;
    for (i = 0; i < 65; i = i + 1) if (v[i]) highest = i;
  endfunction
  // Place of the i-th digit that is not zero.
  function automatic integer place(input integer i);
    integer k, seen;
    place = 0;
    seen = 0;
    for (k = 0; k < 65; k = k + 1) begin
      if (DIGITS[k] && seen == i) place = k;
      if (DIGITS[k]) seen = seen + 1;
    end
  endfunction
  // Bits of the sum of the digits up to `top`, times a number of X bits.
  function automatic integer width(input integer top);
    width = X + top - LOW + (top > LOW ? 1 : 0);
  endfunction

  generate
    if (VALUE == 0) begin : g_zero
      assign y = 0;
    end else begin : g_chain
      wire signed [X-1:0] x = SIGNED != 0 ? X'($signed(a)) : X'($signed({1'b0, a}));
      genvar k;
      // One block a digit and none for zeros or signs: elaborators look through all blocks of all instances for each.
      for (k = 0; k < COUNT; k = k + 1) begin : g_digit
        localparam integer PLACE = place(k);
        localparam integer N = width(PLACE);
        wire signed [N-1:0] sum;  // of the digits up to this one
        if (k == 0) begin : g_lowest
          assign sum = x;
        end else begin : g_adder
          localparam integer P = width(place(k - 1));
          wire signed [N-1:0] part = N'($signed({x, {(PLACE - LOW) {1'b0}}}));
          wire signed [N-1:0] below = N'($signed(g_digit[k-1].sum[P-1:0]));
          assign sum = TURNED && PLACE == TOP ? part - below : MINUS[PLACE] != MINUS[LOW] ? below - part : below + part;
        end
      end
      wire signed [width(TOP)+LOW-1:0] shifted = {g_digit[COUNT-1].sum, {LOW{1'b0}}};
      if (NEGATED) begin : g_negative
        assign y = -(Y'(shifted));
      end else begin : g_positive
        assign y = Y'(shifted);
      end
    end
  endgenerate
endmodule
