// Multiply and accumulate of minifloats, exact: fixed-point accumulator in units of the product of the smallest subnormals.
module minifloat_mac #(
    parameter integer EA = 4,
    parameter integer MA = 3,
    parameter integer EB = 4,
    parameter integer MB = 3,
    parameter integer P = MA + MB + 2 + (1 << EA) + (1 << EB) - 4,  // bits of the largest product
    parameter integer ACC = P + 7
) (
    input clk,
    input reset,
    input enable,
    input last,
    input [EA+MA:0] a,
    input [EB+MB:0] b,
    output [ACC-1:0] y
);
  wire negative;
  wire [P-1:0] magnitude;
  minifloat_mul #(.EA(EA), .MA(MA), .EB(EB), .MB(MB), .Y(P)) multiplier (.a(a), .b(b), .negative(negative), .magnitude(magnitude));
  accumulator #(.IN(P), .BITS(ACC), .SIGNED(0), .MINUS(1)) total (
      .clk(clk), .reset(reset), .enable(enable), .last(last), .minus(negative), .x(magnitude), .y(y)
  );
endmodule
