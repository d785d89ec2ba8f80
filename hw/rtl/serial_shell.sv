// A network behind a serial line: IN bytes come in, then `start` says for one cycle that x holds them (the first in the low bits). The OUT
// bytes of a result, which comes with `done`, go out; one more may come meanwhile. Bytes that stay too few for 2**QUIET bits' time are dropped.
module serial_shell #(
    parameter integer IN = 8,
    parameter integer OUT = 1,
    parameter integer CYCLES = 25,
    parameter integer QUIET = 18
) (
    input clk,
    input reset,
    input rx,
    output tx,
    output reg start,
    output reg [8*IN-1:0] x,
    input done,
    input [8*OUT-1:0] y
);
  localparam integer N = $clog2(IN + 1);
  localparam integer M = $clog2(OUT + 1);
  localparam integer Q = QUIET + $clog2(CYCLES);
  localparam [N-1:0] LAST = N'(IN - 1);
  wire got, ready;
  wire [7:0] given;
  reg [N-1:0] count;
  reg [Q-1:0] quiet;
  uart_receive #(.CYCLES(CYCLES)) receiver (.clk(clk), .reset(reset), .rx(rx), .valid(got), .data(given));
  always @(posedge clk) begin
    start <= got && count == LAST && !reset;
    quiet <= got ? 0 : quiet + 1'b1;
    if (got) x <= (8 * IN)'({given, x} >> 8);
    if (reset || (&quiet && !got) || (got && count == LAST)) count <= 0;
    else if (got) count <= count + 1'b1;
  end

  reg [8*OUT-1:0] kept, sent;
  reg [M-1:0] left;
  reg waiting;
  uart_send #(.CYCLES(CYCLES)) sender (.clk(clk), .reset(reset), .valid(left != 0), .ready(ready), .data(sent[7:0]), .tx(tx));
  wire take = waiting && left == 0;
  always @(posedge clk) begin
    if (done) kept <= y;
    if (take) sent <= kept;
    else if (ready) sent <= sent >> 8;
    if (reset) begin
      waiting <= 1'b0;
      left <= 0;
    end else begin
      waiting <= done || (waiting && !take);
      if (take) left <= M'(OUT);
      else if (ready && left != 0) left <= left - 1'b1;
    end
  end
endmodule
