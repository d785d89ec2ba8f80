// y = min(max(x, LO), HI), the low Y bits (Relu and saturation).
module clamp #(
    parameter integer IN = 16,
    parameter signed [63:0] LO = -128,
    parameter signed [63:0] HI = 127,
    parameter integer Y = 8
) (
    input signed [IN-1:0] x,
    output [Y-1:0] y
);
  localparam signed [63:0] MOST = (64'sd1 << (IN - 1)) - 1;
  localparam signed [63:0] LEAST = -MOST - 1;
  // A limit outside what x can be costs nothing.
  localparam signed [IN-1:0] LOW = LO < LEAST ? LEAST : LO;
  localparam signed [IN-1:0] HIGH = HI > MOST ? MOST : HI;
  wire below = LO > LEAST ? x < LOW : 1'b0;
  wire above = HI < MOST ? x > HIGH : 1'b0;
  wire signed [IN-1:0] limited = below ? LOW : above ? HIGH : x;
  assign y = limited[Y-1:0];
endmodule
