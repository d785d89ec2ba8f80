// The iterations of a process. One starts where the tokens that it reads are there and the streams that it writes have room, which it
// takes; its pipeline of STAGES registers never stands still. go[k], done[k]: an iteration is behind register k, and one that writes.
module flow #(
    parameter integer READS = 1,
    parameter integer WRITES = 1,
    parameter integer STAGES = 1
) (
    input clk,
    input reset,
    input [READS-1:0] reads,
    input writes,
    input [READS-1:0] in_valid,
    output [READS-1:0] in_ready,
    input [WRITES-1:0] out_room,
    output out_take,
    output [STAGES:0] go,
    output [STAGES:0] done
);
  wire fire = &(in_valid | ~reads) && (!writes || &out_room) && !reset;
  assign in_ready = fire ? reads : {READS{1'b0}};
  assign out_take = fire && writes;
  generate
    if (STAGES > 0) begin : g_pipeline
      reg [STAGES:1] gone, made;
      assign go = {gone, fire};
      assign done = {made, out_take};
      always @(posedge clk)
        if (reset) begin
          gone <= 0;
          made <= 0;
        end else begin
          gone <= go[STAGES-1:0];
          made <= done[STAGES-1:0];
        end
    end else begin : g_direct
      assign go = fire;
      assign done = out_take;
    end
  endgenerate
endmodule
