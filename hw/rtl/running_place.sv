// The place of the largest of the codes that come one after the other, of equal ones the first, or the LAST; with the last code y takes it.
// ORDER as in code_order.
module running_place #(
    parameter integer BITS = 8,
    parameter ORDER = "signed",
    parameter integer INDEX = 4,
    parameter LAST = 0
) (
    input clk,
    input reset,
    input enable,
    input last,
    input [BITS-1:0] x,
    output reg [INDEX-1:0] y
);
  reg [BITS-1:0] best;
  reg [INDEX-1:0] place, count;
  reg first;
  wire [BITS-1:0] key, best_key;
  code_order #(.BITS(BITS), .ORDER(ORDER)) order (.code(x), .key(key));
  code_order #(.BITS(BITS), .ORDER(ORDER)) best_order (.code(best), .key(best_key));
  wire better = first || key > best_key || (LAST != 0 && key == best_key);
  wire [INDEX-1:0] next = better ? count : place;
  always @(posedge clk) begin
    if (reset) begin
      first <= 1;
      count <= 0;
    end else if (enable) begin
      first <= last;
      count <= last ? {INDEX{1'b0}} : count + 1'b1;
    end
    if (enable) begin
      if (better) best <= x;
      place <= next;
    end
    if (enable && last) y <= next;
  end
endmodule
