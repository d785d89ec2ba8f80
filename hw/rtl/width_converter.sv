// A stream of IN bits a word to one of OUT bits a word, low parts first; one width is a multiple of the other. valid/ready on both sides.
module width_converter #(
    parameter integer IN = 8,
    parameter integer OUT = 32
) (
    input clk,
    input reset,
    input in_valid,
    output in_ready,
    input [IN-1:0] in_data,
    output out_valid,
    input out_ready,
    output [OUT-1:0] out_data
);
  localparam integer N = OUT > IN ? OUT / IN : IN / OUT;
  localparam integer S = N > 1 ? $clog2(N) : 1;
  localparam [S-1:0] LAST = S'(N - 1);
  reg [S-1:0] place;
  reg full;
  generate
    if (OUT > IN) begin : g_wider
      reg [OUT-1:0] data;
      assign in_ready = !full || out_ready;
      assign out_valid = full;
      assign out_data = data;
      wire take = in_valid && in_ready;
      always @(posedge clk) begin
        if (take) data <= {in_data, data[OUT-1:IN]};
        if (reset) begin
          place <= 0;
          full <= 0;
        end else begin
          if (take) place <= place == LAST ? 0 : place + 1'b1;
          if (take && place == LAST) full <= 1;
          else if (out_ready) full <= 0;
        end
      end
    end else begin : g_narrower
      reg [IN-1:0] data;
      wire final_part = place == LAST;
      assign in_ready = !full || (out_ready && final_part);
      assign out_valid = full;
      assign out_data = data[OUT-1:0];
      wire take = in_valid && in_ready;
      wire give = full && out_ready;
      always @(posedge clk) begin
        if (take) data <= in_data;
        else if (give) data <= data >> OUT;
        if (reset) begin
          place <= 0;
          full <= 0;
        end else begin
          if (give) place <= final_part ? 0 : place + 1'b1;
          if (take) full <= 1;
          else if (give && final_part) full <= 0;
        end
      end
    end
  endgenerate
endmodule
