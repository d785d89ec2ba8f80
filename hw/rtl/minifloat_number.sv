// A minifloat code as a two's complement number, in units of the smallest subnormal.
module minifloat_number #(
    parameter integer E = 4,
    parameter integer M = 3,
    parameter SIGNED = 1,
    parameter integer MAX = (1 << E) - 2,
    parameter integer WIDTH = E + M + (SIGNED != 0 ? 1 : 0),
    parameter integer Y = M + MAX + 2
) (
    input [WIDTH-1:0] code,
    output [Y-1:0] y
);
  wire negative;
  wire [M:0] significand;
  wire [E-1:0] shift;
  wire [M+MAX:0] magnitude;
  minifloat_decode #(.E(E), .M(M), .SIGNED(SIGNED)) fields (.code(code), .negative(negative), .significand(significand), .shift(shift));
  shifter #(.BITS(M + 1), .MAX(MAX)) place (.x(significand), .amount(shift), .y(magnitude));
  assign y = negative ? -(Y'(magnitude)) : Y'(magnitude);
endmodule
