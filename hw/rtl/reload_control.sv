// When weights are loaded. Frames that a port has begun before `reload` rises, and no others, have the old ones: other ports may still
// begin them; when they all have left, the MEMORIES are filled one after the other, and then new frames begin. The first time all is
// `empty` until then, as in a reset. BITS: of so many frames as are inside at most.
module reload_control #(
    parameter integer INPUTS = 1,
    parameter integer OUTPUTS = 1,
    parameter integer MEMORIES = 1,
    parameter integer BITS = 8
) (
    input clk,
    input reset,
    input reload,
    input [INPUTS-1:0] begins,
    output [INPUTS-1:0] open,
    input [OUTPUTS-1:0] ends,
    output reg empty,
    output reg [MEMORIES-1:0] fill,
    input [MEMORIES-1:0] filled
);
  reg was, wanted;
  wire rises = reload && !was;
  wire hold = rises || wanted || empty || fill != 0;
  wire [INPUTS-1:0] level;  // ports that no other is ahead of
  wire [OUTPUTS-1:0] done;
  wire fresh = |(begins & level);  // a frame that no port has begun yet
  wire start = wanted && &done && fill == 0;
  generate
    for (genvar i = 0; i < INPUTS; i = i + 1) begin : g_in
      reg [BITS-1:0] behind;
      assign level[i] = behind == 0;
      assign open[i] = !level[i] || !hold;
      always @(posedge clk)
        if (reset) behind <= 0;
        else if (fresh && !begins[i]) behind <= behind + 1'b1;
        else if (begins[i] && !fresh) behind <= behind - 1'b1;
    end
    for (genvar j = 0; j < OUTPUTS; j = j + 1) begin : g_out
      reg [BITS-1:0] held;
      assign done[j] = held == 0;
      always @(posedge clk)
        if (reset) held <= 0;
        else if (fresh && !ends[j]) held <= held + 1'b1;
        else if (ends[j] && !fresh) held <= held - 1'b1;
    end
  endgenerate
  always @(posedge clk)
    if (reset) begin
      was <= 0;
      wanted <= 0;
      empty <= 1;
      fill <= 0;
    end else begin
      was <= reload;
      wanted <= rises || (wanted && !start);
      if (start) fill <= 1;
      else if (|(fill & filled)) fill <= fill << 1;
      if (fill[MEMORIES-1] && filled[MEMORIES-1]) empty <= 0;
    end
endmodule
