// Of COUNT numbers of A bits three times each, of A + 2 bits.
module triples #(
    parameter integer COUNT = 4,
    parameter integer A = 8,
    parameter SIGNED = 0
) (
    input [COUNT*A-1:0] x,
    output [COUNT*(A+2)-1:0] y
);
  generate
    genvar i;
    for (i = 0; i < COUNT; i = i + 1) begin : g_number
      wire [A-1:0] number = x[i*A+:A];
      wire sign = SIGNED != 0 ? number[A-1] : 1'b0;
      assign y[i*(A+2)+:A+2] = {{2{sign}}, number} + {sign, number, 1'b0};
    end
  endgenerate
endmodule
