// The largest of the codes that come one after the other; with the last of them y takes it. ORDER as in code_order.
module running_maximum #(
    parameter integer BITS = 8,
    parameter ORDER = "signed"
) (
    input clk,
    input reset,
    input enable,
    input last,
    input [BITS-1:0] x,
    output reg [BITS-1:0] y
);
  reg [BITS-1:0] best;
  reg first;
  wire [BITS-1:0] key, best_key;
  code_order #(.BITS(BITS), .ORDER(ORDER)) order (.code(x), .key(key));
  code_order #(.BITS(BITS), .ORDER(ORDER)) best_order (.code(best), .key(best_key));
  wire [BITS-1:0] next = first || key > best_key ? x : best;
  always @(posedge clk) begin
    if (reset) first <= 1;
    else if (enable) first <= last;
    if (enable) best <= next;
    if (enable && last) y <= next;
  end
endmodule
