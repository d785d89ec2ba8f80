// x some clock cycles later.
module wait_stages #(
    parameter integer BITS = 8,
    parameter integer STAGES = 1
) (
    input clk,
    input [BITS-1:0] x,
    output [BITS-1:0] y
);
  reg [BITS-1:0] kept[0:STAGES-1];
  integer i;
  always @(posedge clk) begin
    kept[0] <= x;
    for (i = 1; i < STAGES; i = i + 1) kept[i] <= kept[i-1];
  end
  assign y = kept[STAGES-1];
endmodule
