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
  // Limits of a two's complement number of Y bits (the lowest one perhaps left out), or of an unsigned one, show in the bits above.
  localparam FREE = LO <= LEAST && HI >= MOST;
  localparam SIGNED = Y < IN && HI == (64'sd1 <<< (Y - 1)) - 1 && (LO == -HI - 1 || LO == -HI);
  localparam UNSIGNED = Y < IN && LO == 0 && HI == (64'sd1 <<< Y) - 1;
  wire signed [IN-1:0] limited;
  generate
    if (FREE) begin : g_free
      assign limited = x;
    end else if (SIGNED) begin : g_signed
      wire fits = &x[IN-1:Y-1] || !(|x[IN-1:Y-1]);
      wire [Y-1:0] near = fits ? x[Y-1:0] : {x[IN-1], {(Y - 1) {~x[IN-1]}}};
      wire lowest = near == {1'b1, {(Y - 1) {1'b0}}};
      assign limited = LO == -HI ? {near[Y-1:1], near[0] | lowest} : near;
    end else if (UNSIGNED) begin : g_unsigned
      wire above = |(x[IN-1:Y] << 1);
      assign limited = {Y{~x[IN-1]}} & (x[Y-1:0] | {Y{above}});
    end else begin : g_any
      wire below = LO > LEAST ? x < LOW : 1'b0;
      wire above = HI < MOST ? x > HIGH : 1'b0;
      assign limited = below ? LOW : above ? HIGH : x;
    end
  endgenerate
  assign y = limited[Y-1:0];
endmodule
