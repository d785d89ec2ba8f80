// The serial line of a network of streams: byte `place` of the IN of a vector comes with `got`, byte `turn` of the OUT of a result is taken
// where `ready`. A vector that stays incomplete for 2**QUIET bits' time cannot be taken back: the network starts anew (`restart`).
module serial_streams #(
    parameter integer IN = 8,
    parameter integer OUT = 1,
    parameter integer CYCLES = 25,
    parameter integer QUIET = 18,
    parameter integer N = IN > 1 ? $clog2(IN) : 1,
    parameter integer M = OUT > 1 ? $clog2(OUT) : 1
) (
    input clk,
    input reset,
    input rx,
    output tx,
    output reg restart,
    output got,
    output [7:0] given,
    output reg [N-1:0] place,
    input valid,
    output ready,
    input [7:0] data,
    output reg [M-1:0] turn
);
  localparam integer Q = QUIET + $clog2(CYCLES);
  localparam [N-1:0] LAST = N'(IN - 1);
  localparam [M-1:0] END = M'(OUT - 1);
  reg [Q-1:0] quiet;
  uart_receive #(.CYCLES(CYCLES)) receiver (.clk(clk), .reset(reset), .rx(rx), .valid(got), .data(given));
  uart_send #(.CYCLES(CYCLES)) sender (.clk(clk), .reset(reset), .valid(valid && !restart), .ready(ready), .data(data), .tx(tx));
  always @(posedge clk) begin
    restart <= reset || (&quiet && !got && place != 0);
    quiet   <= got || reset ? {Q{1'b0}} : quiet + 1'b1;
    if (restart) place <= 0;
    else if (got) place <= place == LAST ? {N{1'b0}} : place + 1'b1;
    if (restart) turn <= 0;
    else if (valid && ready) turn <= turn == END ? {M{1'b0}} : turn + 1'b1;
  end
endmodule
