// The largest of the codes that come one after the other; with the last of them y takes it. ORDER: "unsigned", "signed" numbers, or
// "magnitude" behind a sign.
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
  // As unsigned numbers in the same order.
  function automatic [BITS-1:0] key(input [BITS-1:0] code);
    if (ORDER == "signed") key = code ^ (1'b1 << (BITS - 1));
    else if (ORDER == "magnitude") key = code[BITS-1] ? ~code : code ^ (1'b1 << (BITS - 1));
    else key = code;
  endfunction
  wire [BITS-1:0] next = first || key(x) > key(best) ? x : best;
  always @(posedge clk) begin
    if (reset) first <= 1;
    else if (enable) first <= last;
    if (enable) best <= next;
    if (enable && last) y <= next;
  end
endmodule
