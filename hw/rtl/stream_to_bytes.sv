// Words of a stream to bytes, low byte first. DEPTH of them wait in a memory, for a stream whose turn comes after others; 0: none.
module stream_to_bytes #(
    parameter integer BYTES = 8,
    parameter integer DEPTH = 0
) (
    input clk,
    input reset,
    input in_valid,
    output in_ready,
    input [8*BYTES-1:0] in_data,
    output out_valid,
    input out_ready,
    output [7:0] out_data
);
  localparam integer N = $clog2(BYTES + 1);
  reg [8*BYTES-1:0] word;
  reg [N-1:0] left;
  wire some = left != 0;
  wire ready;
  assign in_ready = !some;
  always @(posedge clk) begin
    if (!some) word <= in_data;
    else if (ready) word <= word >> 8;
    if (reset) left <= 0;
    else if (!some) left <= in_valid ? N'(BYTES) : {N{1'b0}};
    else if (ready) left <= left - 1'b1;
  end
  generate
    if (DEPTH == 0) begin : g_direct
      assign out_valid = some;
      assign out_data = word[7:0];
      assign ready = out_ready;
    end else begin : g_waiting
      stream #(.DEPTH(DEPTH), .WIDTH(8), .STYLE("block")) waiting (
          .clk(clk), .reset(reset), .take(some && ready), .room(ready), .push(some && ready), .in_data(word[7:0]),
          .out_valid(out_valid), .out_ready(out_ready), .out_data(out_data));
    end
  endgenerate
endmodule
