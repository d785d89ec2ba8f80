// Multiply and accumulate of integers.
module mac #(
    parameter integer W = 8,
    parameter integer A = 8,
    parameter integer ACC = 24,
    parameter SIGNED = 1,
    parameter STYLE = "lut"
) (
    input clk,
    input reset,
    input enable,
    input last,
    input [W-1:0] w,
    input [A-1:0] a,
    output [ACC-1:0] y
);
  wire [W+A-1:0] product;
  mul #(.W(W), .A(A), .SIGNED(SIGNED), .STYLE(STYLE)) multiplier (.w(w), .a(a), .y(product));
  accumulator #(.IN(W + A), .BITS(ACC), .SIGNED(SIGNED)) total (
      .clk(clk), .reset(reset), .enable(enable), .last(last), .minus(1'b0), .x(product), .y(y)
  );
endmodule
