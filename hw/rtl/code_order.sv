// A code as an unsigned number in the order of what codes stand for. ORDER: "unsigned", "signed" numbers, or "magnitude" behind a sign.
module code_order #(
    parameter integer BITS = 8,
    parameter ORDER = "signed"
) (
    input  [BITS-1:0] code,
    output [BITS-1:0] key
);
  wire [BITS-1:0] turned = code ^ (BITS'(1) << (BITS - 1));
  generate
    if (ORDER == "signed") begin : g_signed
      assign key = turned;
    end else if (ORDER == "magnitude") begin : g_magnitude
      assign key = code[BITS-1] ? ~code : turned;
    end else begin : g_unsigned
      assign key = code;
    end
  endgenerate
endmodule
