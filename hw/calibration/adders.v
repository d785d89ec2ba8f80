// Adders keep the order of their operands: the first one is the raw input of the carry chain, logic in front of the second one goes into
// the LUT of the adder. Left alone, Yosys orders them by name and merges neighbouring sums, and the count would depend on names.
module \$add (A, B, Y);
  parameter A_SIGNED = 0; parameter B_SIGNED = 0; parameter A_WIDTH = 1; parameter B_WIDTH = 1; parameter Y_WIDTH = 1;
  (* force_downto *) input [A_WIDTH-1:0] A; (* force_downto *) input [B_WIDTH-1:0] B; (* force_downto *) output [Y_WIDTH-1:0] Y;
  (* force_downto *) wire [Y_WIDTH-1:0] x, co;
  \$alu #(.A_SIGNED(A_SIGNED), .B_SIGNED(B_SIGNED), .A_WIDTH(A_WIDTH), .B_WIDTH(B_WIDTH), .Y_WIDTH(Y_WIDTH))
    alu (.A(A), .B(B), .BI(1'b0), .CI(1'b0), .Y(Y), .X(x), .CO(co));
endmodule
module \$sub (A, B, Y);
  parameter A_SIGNED = 0; parameter B_SIGNED = 0; parameter A_WIDTH = 1; parameter B_WIDTH = 1; parameter Y_WIDTH = 1;
  (* force_downto *) input [A_WIDTH-1:0] A; (* force_downto *) input [B_WIDTH-1:0] B; (* force_downto *) output [Y_WIDTH-1:0] Y;
  (* force_downto *) wire [Y_WIDTH-1:0] x, co;
  \$alu #(.A_SIGNED(A_SIGNED), .B_SIGNED(B_SIGNED), .A_WIDTH(A_WIDTH), .B_WIDTH(B_WIDTH), .Y_WIDTH(Y_WIDTH))
    alu (.A(A), .B(B), .BI(1'b1), .CI(1'b1), .Y(Y), .X(x), .CO(co));
endmodule
