// Sums, or with an ORDER as in code_order the largest, of the terms of DEPTH rows that take turns: a term of each, then the next of each.
// What a row has so far waits in a memory; with its last term y takes it.
module interleaved #(
    parameter integer DEPTH = 4,
    parameter integer IN = 8,
    parameter integer BITS = 16,
    parameter SIGNED = 1,
    parameter ORDER = "",
    parameter integer S = DEPTH > 1 ? $clog2(DEPTH) : 1
) (
    input clk,
    input reset,
    input enable,
    input last,
    input [IN-1:0] x,
    output reg [BITS-1:0] y
);
  (* ram_style = "distributed" *) reg [BITS-1:0] waiting[0:DEPTH-1];
  wire [S-1:0] row;
  wire ended;
  counter #(.LIMIT(DEPTH)) rows (.clk(clk), .reset(reset), .step(enable), .restart(1'b0), .place(row), .ended(ended));
  reg first;
  wire [BITS-1:0] held = waiting[row];
  wire [BITS-1:0] next;
  generate
    if (ORDER != "") begin : g_largest
      wire [BITS-1:0] key, best;
      code_order #(.BITS(BITS), .ORDER(ORDER)) order (.code(x), .key(key));
      code_order #(.BITS(BITS), .ORDER(ORDER)) best_order (.code(held), .key(best));
      assign next = first || key > best ? x : held;
    end else if (SIGNED != 0) begin : g_signed
      assign next = (first ? {BITS{1'b0}} : held) + BITS'($signed(x));
    end else begin : g_unsigned
      assign next = (first ? {BITS{1'b0}} : held) + BITS'(x);
    end
  endgenerate
  always @(posedge clk) begin
    if (reset) first <= 1;
    else if (enable && ended) first <= last;
    if (enable) waiting[row] <= next;
    if (enable && last) y <= next;
  end
endmodule
