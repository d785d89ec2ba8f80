// The place of the largest of the codes that come one after the other, of equal ones the first, or the LAST; with the last code y takes it.
// ORDER as in running_maximum.
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
  // As unsigned numbers in the same order.
  function automatic [BITS-1:0] key(input [BITS-1:0] code);
    if (ORDER == "signed") key = code ^ (1'b1 << (BITS - 1));
    else if (ORDER == "magnitude") key = code[BITS-1] ? ~code : code ^ (1'b1 << (BITS - 1));
    else key = code;
  endfunction
  wire better = first || key(x) > key(best) || (LAST != 0 && key(x) == key(best));
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
