// Bytes to words of a stream, low byte first. DEPTH bytes wait in a block RAM while the stream does not take them; more would be lost.
module bytes_to_stream #(
    parameter integer BYTES = 8,
    parameter integer DEPTH = 512
) (
    input clk,
    input reset,
    input take,
    input [7:0] in_data,
    output out_valid,
    input out_ready,
    output [8*BYTES-1:0] out_data
);
  wire valid, ready, room;
  wire [7:0] next;
  stream #(.DEPTH(DEPTH), .WIDTH(8), .STYLE("block")) waiting (
      .clk(clk), .reset(reset), .take(take), .room(room), .push(take), .in_data(in_data),
      .out_valid(valid), .out_ready(ready), .out_data(next));
  generate
    if (BYTES == 1) begin : g_byte
      assign out_valid = valid;
      assign ready = out_ready;
      assign out_data = next;
    end else begin : g_word
      localparam integer N = $clog2(BYTES);
      localparam [N-1:0] LAST = N'(BYTES - 1);
      reg [8*BYTES-1:0] word;
      reg [N-1:0] count;
      reg full;
      assign out_valid = full;
      assign ready = !full;
      assign out_data = word;
      always @(posedge clk) begin
        if (valid && ready) word <= {next, word[8*BYTES-1:8]};
        if (reset) begin
          count <= 0;
          full  <= 1'b0;
        end else if (full) full <= !out_ready;
        else if (valid) begin
          count <= count == LAST ? {N{1'b0}} : count + 1'b1;
          full  <= count == LAST;
        end
      end
    end
  endgenerate
endmodule
