// A minifloat code as sign, significand and shift: the number is (-1)**negative * significand << shift in units of the smallest subnormal.
module minifloat_decode #(
    parameter integer E = 4,
    parameter integer M = 3,
    parameter SIGNED = 1,
    parameter integer WIDTH = E + M + (SIGNED != 0 ? 1 : 0)
) (
    input [WIDTH-1:0] code,
    output negative,
    output [M:0] significand,
    output [E-1:0] shift
);
  wire [E-1:0] field = code[E+M-1:M];
  wire normal = |field;
  generate
    if (SIGNED != 0) begin : g_sign
      assign negative = code[WIDTH-1];
    end else begin : g_unsigned
      assign negative = 1'b0;
    end
    if (M > 0) begin : g_fraction
      assign significand = {normal, code[M-1:0]};
    end else begin : g_power
      assign significand = normal;
    end
  endgenerate
  // Subnormals have the spacing of the lowest binade: field 0 and field 1 both shift by 0. Up to 6 bits that is one LUT6 a bit.
  function automatic [E*(1<<E)-1:0] shifts(input integer unused);
    integer i;
    shifts = 0;
    for (i = 2; i < (1 << E); i = i + 1) shifts[i*E+:E] = E'(i - 1);
  endfunction
  table_lut #(.IN(E), .OUT(E), .CONTENTS(shifts(0))) shift_of (.x(field), .y(shift));
endmodule
