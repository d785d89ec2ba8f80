// Running sum of a dot product, exact or wrapping in BITS bits. With the last term y takes the sum and the next sum begins at 0; the sum
// itself stays the raw operand of the adder, so that the adder is one LUT a bit.
module accumulator #(
    parameter integer IN = 16,
    parameter integer BITS = 24,
    parameter SIGNED = 1,
    parameter MINUS = 0  // whether `minus` matters: then the term may be subtracted
) (
    input clk,
    input reset,
    input enable,
    input last,
    input minus,
    input [IN-1:0] x,
    output reg [BITS-1:0] y
);
  reg [BITS-1:0] sum;
  wire [BITS-1:0] term;
  wire [BITS-1:0] next;
  generate
    if (SIGNED != 0) begin : g_signed
      assign term = BITS'($signed(x));
    end else begin : g_unsigned
      assign term = BITS'(x);
    end
    if (MINUS != 0) begin : g_minus
      // The +1 of the two's complement enters as a carry from one bit below.
      wire [BITS:0] both = {sum, 1'b1} + {term ^ {BITS{minus}}, minus};
      assign next = both[BITS:1];
    end else begin : g_plus
      assign next = sum + term;
    end
  endgenerate
  always @(posedge clk) begin
    if (reset || (enable && last)) sum <= 0;
    else if (enable) sum <= next;
    if (enable && last) y <= next;
  end
endmodule
