// A memory of DEPTH words of PARTS elements, which come in from a stream while `load` is set: an element takes CONTAINER bits of a word of
// 64, the first one the lowest, and a memory ends with its word. SIGNS: of elements that are +1 or -1 whether they are +1 is kept. What is
// read is there a register later. STYLE as of `ram`.
module loaded_memory #(
    parameter integer DEPTH = 256,
    parameter integer PARTS = 1,
    parameter integer ELEMENT = 8,
    parameter integer CONTAINER = 8,
    parameter integer SIGNS = 0,
    parameter STYLE = "block",
    parameter integer BITS = SIGNS != 0 ? 1 : ELEMENT,
    parameter integer S = DEPTH > 1 ? $clog2(DEPTH) : 1
) (
    input clk,
    input load,
    input load_valid,
    output load_ready,
    output load_filled,
    input [63:0] load_data,
    input [S-1:0] address,
    output [PARTS*BITS-1:0] q
);
  localparam integer P = PARTS > 1 ? $clog2(PARTS) : 1;
  reg [S-1:0] to;
  wire last_place, last_part;
  wire last = last_part && to == S'(DEPTH - 1);
  wire [ELEMENT-1:0] element;
  wire [BITS-1:0] kept;
  wire [PARTS*BITS-1:0] word;
  wire taken = load && load_valid;
  assign load_ready = taken && (last_place || last);
  assign load_filled = taken && last;
  always @(posedge clk)
    if (!load) to <= 0;
    else if (taken && last_part) to <= last ? {S{1'b0}} : to + 1'b1;
  generate
    if (CONTAINER < 64) begin : g_places
      localparam integer N = 64 / CONTAINER;
      reg [$clog2(N)-1:0] place;
      wire [CONTAINER-1:0] own = load_data[place*CONTAINER+:CONTAINER];
      assign element = own[ELEMENT-1:0];
      assign last_place = &place;
      always @(posedge clk)
        if (!load) place <= 0;
        else if (taken) place <= last ? {$clog2(N) {1'b0}} : place + 1'b1;
    end else begin : g_whole
      assign element = load_data[ELEMENT-1:0];
      assign last_place = 1'b1;
    end
    if (SIGNS != 0) begin : g_signs
      assign kept = !element[ELEMENT-1];
    end else begin : g_codes
      assign kept = element;
    end
    if (PARTS > 1) begin : g_parts
      reg [P-1:0] part;
      reg [(PARTS-1)*BITS-1:0] held;
      assign word = {kept, held};
      assign last_part = part == P'(PARTS - 1);
      always @(posedge clk) begin
        if (!load) part <= 0;
        else if (taken) part <= last_part ? {P{1'b0}} : part + 1'b1;
        if (taken) held <= word[PARTS*BITS-1:BITS];
      end
    end else begin : g_alone
      assign word = kept;
      assign last_part = 1'b1;
    end
  endgenerate
  ram #(.DEPTH(DEPTH), .WIDTH(PARTS * BITS), .STYLE(STYLE)) memory (
      .clk(clk), .write(taken && last_part), .to(to), .in_data(word), .from(address), .q(q));
endmodule
