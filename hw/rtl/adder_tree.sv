// Sum of TERMS numbers of BITS bits (term 0 in the low bits): a balanced tree whose sums are exact.
module adder_tree #(
    parameter integer TERMS = 8,
    parameter integer BITS = 8,
    parameter SIGNED = 1,
    parameter integer Y = BITS + $clog2(TERMS)
) (
    input  [TERMS*BITS-1:0] x,
    output [Y-1:0] y
);
  localparam integer LEVELS = $clog2(TERMS);
  function automatic integer count(input integer level);
    count = (TERMS + (1 << level) - 1) >> level;
  endfunction

  wire [(LEVELS+1)*TERMS*Y-1:0] sum  /* verilator split_var */;  // node i of level l: bits (l * TERMS + i) * Y and up
  genvar l, i;
  generate
    for (i = 0; i < TERMS; i = i + 1) begin : g_leaf
      if (SIGNED != 0) begin : g_signed
        assign sum[i*Y+:Y] = Y'($signed(x[i*BITS+:BITS]));
      end else begin : g_unsigned
        assign sum[i*Y+:Y] = Y'(x[i*BITS+:BITS]);
      end
    end
    for (l = 1; l <= LEVELS; l = l + 1) begin : g_level
      localparam integer N = BITS + l - 1;
      for (i = 0; i < count(l); i = i + 1) begin : g_node
        if (2 * i + 1 == count(l - 1)) begin : g_odd
          assign sum[(l*TERMS+i)*Y+:Y] = sum[((l-1)*TERMS+2*i)*Y+:Y];
        end else if (SIGNED != 0) begin : g_signed
          wire signed [N-1:0] p = sum[((l-1)*TERMS+2*i)*Y+:N];
          wire signed [N-1:0] q = sum[((l-1)*TERMS+2*i+1)*Y+:N];
          wire signed [N:0] s = p + q;
          assign sum[(l*TERMS+i)*Y+:Y] = Y'(s);
        end else begin : g_unsigned
          wire [N:0] s = sum[((l-1)*TERMS+2*i)*Y+:N] + sum[((l-1)*TERMS+2*i+1)*Y+:N];
          assign sum[(l*TERMS+i)*Y+:Y] = Y'(s);
        end
      end
    end
  endgenerate
  assign y = sum[LEVELS*TERMS*Y+:Y];
endmodule
