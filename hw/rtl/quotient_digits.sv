// 2 * floor(n / d), and 1 more where d does not divide n: K digits, 1 or -1, of non-restoring division, one in each step behind the one that
// takes n and d (a remainder is in [-d, d)), and a step that makes y of them, the `last` one, the K + 1-th. d > 0, |n| < d * 2**K.
module quotient_digits #(
    parameter integer N = 9,
    parameter integer D = 5,
    parameter integer K = 4,
    parameter integer Y = K + 2
) (
    input clk,
    input reset,
    input enable,
    input last,
    input [N-1:0] n,
    input [D-1:0] d,
    output reg [Y-1:0] y
);
  localparam integer B = D + 1;
  reg fresh;
  reg signed [B-1:0] by, rest;
  reg [K-1:0] left, ahead;  // bits of n that are to come; which digits are 1
  wire less = rest < 0;
  wire whole = rest == (less ? -by : B'(0));
  wire signed [N+K-1:0] long = (N + K)'($signed(n));
  always @(posedge clk) begin
    if (reset) fresh <= 1'b1;
    else if (enable) fresh <= last;
    if (enable && fresh) begin
      by   <= $signed({1'b0, d});
      rest <= B'(long >>> K);
      left <= K'(long);
    end else if (enable && !last) begin
      rest  <= {rest[B-2:0], left[K-1]} + (less ? by : -by);
      left  <= left << 1;
      ahead <= K'({ahead, !less});
    end else if (enable) y <= Y'({ahead, 2'b00}) - Y'((2 << K) - 2) - Y'({less, 1'b0}) + Y'(!whole);
  end
endmodule
