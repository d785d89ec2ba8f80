// First-in first-out buffer with valid/ready on both sides. STYLE "distributed" (read at once) or "block" (one register more at the end).
module fifo #(
    parameter integer DEPTH = 32,
    parameter integer WIDTH = 8,
    parameter STYLE = "distributed",
    parameter integer S = $clog2(DEPTH)
) (
    input clk,
    input reset,
    input in_valid,
    output in_ready,
    input [WIDTH-1:0] in_data,
    output out_valid,
    input out_ready,
    output [WIDTH-1:0] out_data
);
  localparam [S:0] EMPTY = (S + 1)'((1 << S) - DEPTH);  // full where the highest bit is set
  localparam [S-1:0] LAST = S'(DEPTH - 1);
  reg [S-1:0] head, tail;
  reg [S:0] used;
  wire push = in_valid && in_ready;
  wire pop;
  assign in_ready = !used[S];
  always @(posedge clk)
    if (reset) begin
      head <= 0;
      tail <= 0;
      used <= EMPTY;
    end else begin
      if (push) tail <= tail == LAST ? 0 : tail + 1'b1;
      if (pop) head <= head == LAST ? 0 : head + 1'b1;
      if (push && !pop) used <= used + 1'b1;
      if (pop && !push) used <= used - 1'b1;
    end
  wire some = used != EMPTY;
  generate
    if (STYLE == "block") begin : g_block
      (* ram_style = "block", no_rw_check *) reg [WIDTH-1:0] words[0:(1<<S)-1];
      reg [WIDTH-1:0] data;
      reg valid;
      assign pop = some && (!valid || out_ready);
      assign out_valid = valid;
      assign out_data = data;
      always @(posedge clk) begin
        if (push) words[tail] <= in_data;
        if (pop) data <= words[head];
        if (reset) valid <= 0;
        else if (pop) valid <= 1;
        else if (out_ready) valid <= 0;
      end
    end else begin : g_distributed
      (* ram_style = "distributed" *) reg [WIDTH-1:0] words[0:DEPTH-1];
      assign pop = some && out_ready;
      assign out_valid = some;
      assign out_data = words[head];
      always @(posedge clk) if (push) words[tail] <= in_data;
    end
  endgenerate
endmodule
