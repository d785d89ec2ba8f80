// Bytes from a serial line (8 data bits, no parity, 1 stop bit), CYCLES clock cycles a bit: `valid` for one cycle a byte. A byte without
// its stop bit is dropped, and the line must be high before the next one.
module uart_receive #(
    parameter integer CYCLES = 25
) (
    input clk,
    input reset,
    input rx,
    output reg valid,
    output reg [7:0] data
);
  localparam integer W = $clog2(2 * CYCLES);
  localparam [W-1:0] BIT = W'(CYCLES - 1);
  localparam [W-1:0] FIRST = W'(CYCLES + CYCLES / 2 - 1);  // from the edge of the start bit to the middle of the next
  reg [1:0] line;  // the line is of no clock
  reg [3:0] left;
  reg [W-1:0] timer;
  reg broken;
  always @(posedge clk) begin
    line <= {line[0], rx};
    valid <= 1'b0;
    if (reset) begin
      line <= 2'b11;
      left <= 0;
    end else if (left == 0) begin
      timer <= FIRST;
      broken <= 1'b0;
      if (!line[1]) left <= 4'd9;
    end else if (timer != 0) timer <= timer - 1'b1;
    else if (left != 1) begin
      timer <= BIT;
      left <= left - 1'b1;
      data <= {line[1], data[7:1]};
    end else if (line[1]) begin
      valid <= !broken;
      left <= 0;
    end else broken <= 1'b1;
  end
endmodule
