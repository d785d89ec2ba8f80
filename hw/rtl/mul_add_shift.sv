// y = min(max((MUL * a + ADD) >> SHIFT, LO), HI), floor; N bits hold MUL * a + ADD.
module mul_add_shift #(
    parameter integer ACC = 16,
    parameter SIGNED = 1,  // whether a is
    parameter signed [63:0] MUL = 3,
    parameter signed [127:0] ADD = 0,
    parameter integer SHIFT = 4,
    parameter signed [63:0] LO = -128,
    parameter signed [63:0] HI = 127,
    parameter integer N = 40,
    parameter integer Y = 8
) (
    input [ACC-1:0] a,
    output [Y-1:0] y
);
  wire signed [N-1:0] product;
  mul_const #(.A(ACC), .SIGNED(SIGNED), .VALUE(MUL), .Y(N)) multiplier (.a(a), .y(product));
  localparam signed [N-1:0] ADDEND = N'(ADD);
  wire signed [N-1:0] sum = product + ADDEND;
  wire signed [N-SHIFT-1:0] quotient = sum[N-1:SHIFT];
  clamp #(.IN(N - SHIFT), .LO(LO), .HI(HI), .Y(Y)) limiter (.x(quotient), .y(y));
endmodule
