// Exact product of two minifloats in units: sign and magnitude. The significands are multiplied, the shifts added, one shifter follows.
module minifloat_mul #(
    parameter integer EA = 4,
    parameter integer MA = 3,
    parameter integer EB = 4,
    parameter integer MB = 3,
    parameter integer Y = MA + MB + 2 + (1 << EA) + (1 << EB) - 4
) (
    input [EA+MA:0] a,
    input [EB+MB:0] b,
    output negative,
    output [Y-1:0] magnitude
);
  // Magnitudes of all pairs of codes without sign, where the operands are so short that a bit of the product is one LUT6.
  localparam SHORT = EA + MA + EB + MB <= 6;
  function automatic integer units(input integer code, input integer mantissa);
    integer field, fraction;
    field = code >> mantissa;
    fraction = code & ((1 << mantissa) - 1);
    units = field == 0 ? fraction : ((1 << mantissa) + fraction) << (field - 1);
  endfunction
  function automatic [Y*64-1:0] magnitudes(input integer unused);
    integer i;
    magnitudes = 0;
    for (i = 0; i < 64; i = i + 1)
      if (i < (1 << (EA + MA + EB + MB))) magnitudes[i*Y+:Y] = Y'(units(i >> (EB + MB), MA) * units(i & ((1 << (EB + MB)) - 1), MB));
  endfunction

  generate
    if (SHORT) begin : g_table
      localparam [Y*64-1:0] ALL = magnitudes(0);
      table_lut #(.IN(EA + MA + EB + MB), .OUT(Y), .CONTENTS(ALL[Y*(1<<(EA+MA+EB+MB))-1:0])) all_pairs (.x({a[EA+MA-1:0], b[EB+MB-1:0]}), .y(magnitude));
      assign negative = a[EA+MA] ^ b[EB+MB];
    end else begin : g_shift
      localparam integer MOST = (1 << EA) + (1 << EB) - 4;
      localparam integer S = $clog2(MOST + 1);
      wire sign_a, sign_b;
      wire [MA:0] significand_a;
      wire [MB:0] significand_b;
      wire [EA-1:0] shift_a;
      wire [EB-1:0] shift_b;
      minifloat_decode #(.E(EA), .M(MA)) left (.code(a), .negative(sign_a), .significand(significand_a), .shift(shift_a));
      minifloat_decode #(.E(EB), .M(MB)) right (.code(b), .negative(sign_b), .significand(significand_b), .shift(shift_b));

      wire [MA+MB+1:0] product;
        if (MA <= MB) begin : g_rows_a
          mul #(.W(MA + 1), .A(MB + 1), .SIGNED(0)) significands (.w(significand_a), .a(significand_b), .y(product));
        end else begin : g_rows_b
          mul #(.W(MB + 1), .A(MA + 1), .SIGNED(0)) significands (.w(significand_b), .a(significand_a), .y(product));
        end
      wire [S-1:0] amount = S'(shift_a) + S'(shift_b);
      wire [MA+MB+1+MOST:0] shifted;
      shifter #(.BITS(MA + MB + 2), .MAX(MOST)) align (.x(product), .amount(amount), .y(shifted));
      assign negative = sign_a ^ sign_b;
      assign magnitude = shifted[Y-1:0];
    end
  endgenerate
endmodule
