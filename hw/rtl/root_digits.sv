// The largest K bits `y` with n * y * y <= NUM, a bit in two steps behind the one that takes n; y is there behind the `last` one, the
// 2 * K-th. `rest`, in its high bits, is what n * y * y leaves of the bits of NUM so far; a 1 behind y would take n * (4 * y + 1) of it.
module root_digits #(
    parameter integer N = 8,
    parameter integer K = 4,
    parameter [N+3*K+2:0] NUM = 1
) (
    input clk,
    input reset,
    input enable,
    input last,
    input [N-1:0] n,
    output reg [K-1:0] y
);
  localparam integer W = N + K + 3;
  reg fresh, compare, fits;
  reg [N-1:0] by;
  reg [W-1:0] line;  // n * y
  reg [W:0] less;  // the rest without n
  reg [W+2*K-1:0] rest;
  wire [W+2*K-1:0] next = rest << 2;
  wire [W:0] left = less - {1'b0, line << 2};
  always @(posedge clk) begin
    if (reset) fresh <= 1'b1;
    else if (enable) fresh <= last;
    if (enable) compare <= !fresh && !compare;
    if (enable && fresh) begin
      by   <= n;
      line <= 0;
      fits <= 1'b0;
      rest <= NUM;
    end else if (enable && !compare) begin
      rest <= next;
      less <= {1'b0, next[2*K+:W]} - (W + 1)'(by);
      line <= (line << 1) + (fits ? W'(by) : 0);
    end else if (enable) begin
      if (!left[W]) rest[2*K+:W] <= left[W-1:0];
      fits <= !left[W];
      y <= K'({y, !left[W]});
    end
  end
endmodule
