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
  // A limit outside what x can be costs nothing; one at a power of two compares only the bits above it.
  localparam BELOW = LO > LEAST;
  localparam ABOVE = HI < MOST;
  localparam signed [IN-1:0] LOW = IN'(BELOW ? LO : LEAST);
  localparam signed [IN-1:0] HIGH = IN'(ABOVE ? HI : MOST);
  localparam signed [IN-1:0] NEXT = IN'(ABOVE ? HI + 64'sd1 : MOST);
  wire reaches_low, reaches_next;
  generate
    if (BELOW) begin : g_below
      thresholds #(.ACC(IN), .K(1), .CUTS(LOW)) compare (.a(x), .y(reaches_low));
    end else begin : g_not_below
      assign reaches_low = 1'b1;
    end
    if (ABOVE) begin : g_above
      thresholds #(.ACC(IN), .K(1), .CUTS(NEXT)) compare (.a(x), .y(reaches_next));
    end else begin : g_not_above
      assign reaches_next = 1'b0;
    end
  endgenerate
  wire signed [IN-1:0] limited = !reaches_low ? LOW : reaches_next ? HIGH : x;
  assign y = limited[Y-1:0];
endmodule
