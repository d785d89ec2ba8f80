// First-in first-out buffer between two processes: a place is taken (`take`, where there is `room`) some cycles before a token comes into
// it (`push`). STYLE "distributed" (read at once) or "block" (one register more at the end).
module stream #(
    parameter integer DEPTH = 32,
    parameter integer WIDTH = 8,
    parameter STYLE = "distributed"
) (
    input clk,
    input reset,
    input take,
    output room,
    input push,
    input [WIDTH-1:0] in_data,
    output out_valid,
    input out_ready,
    output [WIDTH-1:0] out_data
);
  localparam integer S = DEPTH > 1 ? $clog2(DEPTH) : 1;
  localparam [S-1:0] END = S'(DEPTH - 1);
  localparam [S:0] FULL = (S + 1)'(DEPTH);
  reg [S-1:0] head, tail;
  reg [S:0] taken, filled;
  reg free, some;
  wire pop;
  assign room = free;
  wire [S:0] next_taken = taken + {{S{1'b0}}, take} - {{S{1'b0}}, pop};
  wire [S:0] next_filled = filled + {{S{1'b0}}, push} - {{S{1'b0}}, pop};
  always @(posedge clk)
    if (reset) begin
      head <= 0;
      tail <= 0;
      taken <= 0;
      filled <= 0;
      free <= 1;
      some <= 0;
    end else begin
      if (push) tail <= tail == END ? {S{1'b0}} : tail + 1'b1;
      if (pop) head <= head == END ? {S{1'b0}} : head + 1'b1;
      taken <= next_taken;
      filled <= next_filled;
      free <= next_taken != FULL;
      some <= next_filled != 0;
    end
  generate
    if (STYLE == "block") begin : g_block
      (* ram_style = "block", no_rw_check *) reg [WIDTH-1:0] words[0:DEPTH-1];
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
