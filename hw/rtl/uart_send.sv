// Bytes to a serial line (8 data bits, no parity, 1 stop bit), CYCLES clock cycles a bit.
module uart_send #(
    parameter integer CYCLES = 25
) (
    input clk,
    input reset,
    input valid,
    output ready,
    input [7:0] data,
    output reg tx
);
  localparam integer W = $clog2(CYCLES);
  localparam [W-1:0] BIT = W'(CYCLES - 1);
  reg [8:0] frame;
  reg [3:0] left;
  reg [W-1:0] timer;
  assign ready = left == 0 && timer == 0;
  always @(posedge clk) begin
    if (reset) begin
      tx <= 1'b1;
      left <= 0;
      timer <= 0;
    end else if (timer != 0) timer <= timer - 1'b1;
    else if (left != 0) begin
      {frame, tx} <= {1'b1, frame};
      left  <= left - 1'b1;
      timer <= BIT;
    end else if (valid) begin
      frame <= {1'b1, data};
      tx <= 1'b0;
      left <= 4'd9;
      timer <= BIT;
    end
  end
endmodule
