// The windows of a token of what all of them cover, by wires: DOWN rows of ACROSS windows, of KH x KW places of BITS bits, SH and SW places
// apart, places of the kernel DH and DW, in rows of WIDTH places. Windows follow one another, of each the rows of the kernel.
module cut_windows #(
    parameter integer DOWN = 1,
    parameter integer ACROSS = 2,
    parameter integer KH = 3,
    parameter integer KW = 3,
    parameter integer SH = 1,
    parameter integer SW = 1,
    parameter integer DH = 1,
    parameter integer DW = 1,
    parameter integer HEIGHT = 3,
    parameter integer WIDTH = 4,
    parameter integer BITS = 8
) (
    input [HEIGHT*WIDTH*BITS-1:0] covered,
    output [DOWN*ACROSS*KH*KW*BITS-1:0] windows
);
  generate
    genvar n;
    for (n = 0; n < DOWN * ACROSS * KH * KW; n = n + 1) begin : g_place
      localparam integer Y = n / (KW * KH * ACROSS) * SH + n / KW % KH * DH;
      localparam integer X = n / (KW * KH) % ACROSS * SW + n % KW * DW;
      assign windows[n*BITS+:BITS] = covered[(Y*WIDTH+X)*BITS+:BITS];
    end
  endgenerate
endmodule
