// The loops of sharing.py, slack.py and rest.py, compiled: the same sums in the same order, integer by integer.
// compiled.py compiles this file, loads it and calls it. Sums wrap as those of numpy do (-fwrapv).

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <tuple>
#include <unordered_map>
#include <vector>

using Size = std::int64_t;
using Word = std::uint64_t;

namespace {

constexpr Size PLACES = 7;  // bits of a place, and of a distance of two
constexpr Size NEVER = Size(1) << 40;
constexpr Size MOST = 256;  // terms of a row whose pairs are all looked at

Size bits_of(Size v) { return v > 0 ? 64 - __builtin_clzll(Word(v)) : 0; }
Size width(Size low, Size high) { return std::max(bits_of(high), low < 0 ? bits_of(~low) : 0) + 1; }

// --- nodes

struct Sum {
    Size base, other, shift, minus, turned;
};

struct Term {
    Size node, place, minus;
    bool operator<(const Term& t) const { return std::tie(node, place, minus) < std::tie(t.node, t.place, t.minus); }
};

struct Cost {
    Size bits, width;
};

struct Nodes {
    Size columns, count;
    Size *low, *high, *level;
    Sum* adders;
    std::unordered_map<Word, Size> known;

    Nodes(Size columns, Size count, Size* low, Size* high, Size* level, Sum* adders)
        : columns(columns), count(count), low(low), high(high), level(level), adders(adders) {
        for (Size i = columns; i < count; i++) known[key(adders[i - columns])] = i;
    }

    static Word key(const Sum& s) {
        return (((Word(s.base) << 26 | Word(s.other)) << PLACES | Word(s.shift)) << 1 | Word(s.minus)) << 1 | Word(s.turned);
    }

    Size find(const Sum& s) const {
        auto found = known.find(key(s));
        return found == known.end() ? -1 : found->second;
    }

    Size append(const Sum& s) {
        Size node = count++;
        Size base_low = low[s.base], base_high = high[s.base];
        Size other_low = low[s.other] << s.shift, other_high = high[s.other] << s.shift;
        low[node] = (s.turned ? -base_high : base_low) + (s.minus ? -other_high : other_low);
        high[node] = (s.turned ? -base_low : base_high) + (s.minus ? -other_low : other_high);
        level[node] = 1 + std::max(level[s.base], level[s.other]);
        adders[node - columns] = s;
        known[key(s)] = node;
        return node;
    }

    Size add(const Sum& s) {
        Size found = find(s);
        return found < 0 ? append(s) : found;
    }

    Size top(const Term& t) const { return width(low[t.node], high[t.node]) + t.place; }

    bool no_signs() const {
        return std::all_of(low, low + columns, [](Size v) { return v >= 0; });
    }

    Cost cost(Size base, Size other, Size shift, bool minus) const {
        Size wide_low = low[other] << shift, wide_high = high[other] << shift;
        Size own = width(low[base], high[base]), theirs = width(wide_low, wide_high);
        Size made = width(low[base] + (minus ? -wide_high : wide_low), high[base] + (minus ? -wide_low : wide_high));
        bool positive = low[base] >= 0 && wide_low >= 0 && !minus;
        if (positive) return {std::max(std::min(own, theirs) - 1 - shift, Size(0)), made};
        return {std::max(std::min(std::max(own, theirs), made) - shift, Size(1)), made};
    }

    Size depth(Size one, Size other) const { return std::abs((Size(1) << level[one]) - (Size(1) << level[other])); }
};

// --- what rows share

// Pairs that save as much; once they have been looked at, a heap of which the least comes first.
struct Bucket {
    std::vector<Size> pairs;
    bool ordered = false;
};

// A word of places where two terms meet.
struct Hits {
    Size word;
    Word of[2];  // where base is added, and where it is subtracted
};

struct Sharing {
    Nodes& nodes;
    Size rows, stride, words, group, node_bits, most, spread;
    Size* left;
    std::vector<Size> slot;                    // of a node that is a term of any row
    std::vector<Word> places;                  // of every slot, rows and places where it is added, and subtracted
    std::vector<Word> filled;                  // of every slot, groups of words that are not empty
    std::vector<std::vector<Size>> terms;      // of every row, packed
    std::vector<int> counts;                   // of (node, distance, whether signs differ)
    std::vector<Size> touched;
    std::vector<Hits> hits;
    std::map<Size, Bucket, std::greater<Size>> open;  // pairs by what they saved when they were last looked at

    Sharing(Nodes& nodes, Size rows, Size* left, Size count, const Size* row, const Size* node, const Size* place, const Size* sign)
        : nodes(nodes), rows(rows), left(left), terms(rows) {
        Size highest = 0;
        for (Size i = 0; i < count; i++) highest = std::max(highest, place[i]);
        stride = 2 * (highest + 1);
        words = (rows * stride + 63) / 64;
        Size capacity = nodes.count + count;
        node_bits = bits_of(capacity);
        most = (Size(1) << (61 - 2 * node_bits - PLACES)) - 1;  // as of `Packing`
        slot.assign(capacity, -1);
        group = (words + 63) / 64;
        spread = bits_of(2 * stride - 1);
        counts.assign(capacity << spread, 0);
        for (Size i = 0; i < count; i++) {
            set(node[i], row[i] * stride + place[i], sign[i]);
            terms[row[i]].push_back(packed(node[i], place[i], sign[i]));
        }
    }

    static Size packed(Size node, Size place, Size sign) { return node << (PLACES + 1) | place << 1 | sign; }

    Word* side(Size node, Size sign) { return &places[(2 * slot[node] + sign) * words]; }

    bool used(Size node) {
        return slot[node] >= 0 && std::any_of(side(node, 0), side(node, 0) + 2 * words, [](Word w) { return w; });
    }

    void set(Size node, Size at, Size sign) {
        if (slot[node] < 0) {
            slot[node] = places.size() / (2 * words);
            places.resize(places.size() + 2 * words);
            filled.push_back(0);
        }
        filled[slot[node]] |= Word(1) << (at / 64 / group);
        side(node, sign)[at / 64] |= Word(1) << (at % 64);
    }

    void clear(Size node, Size at, Size sign) { side(node, sign)[at / 64] &= ~(Word(1) << (at % 64)); }

    Size pair(Size base, Size other, Size distance, Size differ) const {
        return (base << node_bits | other) << (PLACES + 1) | distance << 1 | differ;
    }

    Sum adder(Size pair) const {
        Size both = pair >> (PLACES + 1);
        return {both >> node_bits, both & ((Size(1) << node_bits) - 1), (pair >> 1) & ((1 << PLACES) - 1), pair & 1, 0};
    }

    Size weight(const Sum& s) const { return std::max(nodes.cost(s.base, s.other, s.shift, s.minus).bits, Size(1)); }

    // Counts that node, at this place of this row, meets every term there; first: of pairs that are met from both
    // sides one, that which has node further right.
    void meet(Size node, Size row, Size place, Size sign, bool first) {
        for (Size term : terms[row]) {
            Size other = term >> (PLACES + 1), distance = ((term >> 1) & ((1 << PLACES) - 1)) - place;
            if (first ? distance < 0 || (distance == 0 && other <= node) : other == node && distance <= 0) continue;
            Size at = other << spread | (distance + stride / 2) << 1 | ((term & 1) ^ sign);
            if (counts[at]++ == 0) touched.push_back(at);
        }
    }

    Size distance_of(Size at) const { return ((at & ((Size(1) << spread) - 1)) >> 1) - stride / 2; }

    // Entries for what node met more than once.
    void consider(Size node) {
        for (Size at : touched) {
            Size count = counts[at];
            counts[at] = 0;
            if (count < 2) continue;
            Size other = at >> spread, distance = distance_of(at);
            Sum s = distance > 0 ? Sum{node, other, distance, at & 1, 0} : Sum{other, node, -distance, at & 1, 0};
            push((count - 1) * weight(s), pair(s.base, s.other, s.shift, s.minus));
        }
        touched.clear();
    }

    void first() {
        std::vector<std::vector<std::tuple<Size, Size, Size>>> met(nodes.count);
        for (Size row = 0; row < rows; row++)
            for (Size term : terms[row]) met[term >> (PLACES + 1)].emplace_back(row, (term >> 1) & ((1 << PLACES) - 1), term & 1);
        for (Size node = 0; node < Size(met.size()); node++) {
            for (auto& [row, place, sign] : met[node]) meet(node, row, place, sign, true);
            // Beside the same place the lower node is the base.
            for (Size at : touched) {
                Size count = counts[at], other = at >> spread, distance = distance_of(at);
                counts[at] = 0;
                if (count < 2) continue;
                Sum s{node, other, distance, at & 1, 0};
                push((count - 1) * weight(s), pair(s.base, s.other, s.shift, s.minus));
            }
            touched.clear();
        }
    }

    void push(Size saved, Size pair) {
        auto& bucket = open[std::min(saved, most)];
        bucket.pairs.push_back(pair);
        if (bucket.ordered) std::push_heap(bucket.pairs.begin(), bucket.pairs.end(), std::greater<Size>());
    }

    // All that seemed to save as much, of which most save less by now.
    void order(Size saved, Bucket& bucket) {
        std::vector<Size> all;
        all.swap(bucket.pairs);
        for (Size pair : all) {
            Size now = saves(adder(pair));
            if (now == saved) bucket.pairs.push_back(pair);
            else if (now > 0) push(now, pair);
        }
        std::make_heap(bucket.pairs.begin(), bucket.pairs.end(), std::greater<Size>());
        bucket.ordered = true;
    }

    Size saves(const Sum& s) {
        Size count = meetings(s);
        return count > 1 ? std::min((count - 1) * weight(s), most) : 0;
    }

    Word shifted(const Word* bits, Size word, Size shift) const {
        Size from = word + shift / 64, low = shift % 64;
        Word out = from < words ? bits[from] >> low : 0;
        return low && from + 1 < words ? out | bits[from + 1] << (64 - low) : out;
    }

    // Groups of words that both fill, where the second is moved to the right by a shift below 128.
    Word common(const Sum& s) const {
        Word other = filled[slot[s.other]];
        Size near = group == 1 ? s.shift / 64 : 0;
        return filled[slot[s.base]] & (other >> near | other >> near >> 1);
    }

    // Where the two terms of a sum meet, into hits; how often.
    Size meetings(const Sum& s) {
        Size found = 0;
        const Word *same = side(s.other, s.minus), *opposite = side(s.other, !s.minus);
        const Word *added = side(s.base, 0), *subtracted = side(s.base, 1);
        hits.clear();
        for (Word open = common(s); open; open &= open - 1) {
            Size first = __builtin_ctzll(open) * group;
            for (Size w = first; w < std::min(first + group, words); w++) {
                Word plus = added[w] ? added[w] & shifted(same, w, s.shift) : 0;
                Word minus = subtracted[w] ? subtracted[w] & shifted(opposite, w, s.shift) : 0;
                if (plus | minus) hits.push_back({w, {plus, minus}});
                found += __builtin_popcountll(plus | minus);
            }
        }
        Size price = left ? nodes.depth(s.base, s.other) : 0;
        if (found > 0 && (s.base == s.other || price > 0)) found = allowed(s, price);
        return found;
    }

    // From the lowest up: of a node that meets itself, meetings that share no term; then those that their row can afford.
    Size allowed(const Sum& s, Size price) {
        Size found = 0, row = -1, budget = 0;
        std::vector<Size> taken;
        for (Hits& h : hits) {
            for (Word open = h.of[0] | h.of[1]; open; open &= open - 1) {
                Size at = h.word * 64 + __builtin_ctzll(open);
                bool keep = true;
                if (s.base == s.other) {
                    keep = std::find(taken.begin(), taken.end(), at) == taken.end();
                    if (keep) taken.push_back(at + s.shift);
                }
                if (keep && price > 0) {
                    if (at / stride != row) row = at / stride, budget = left[row];
                    keep = budget >= price;
                    if (keep) budget -= price;
                }
                if (keep) found++;
                else
                    for (Word& bits : h.of) bits &= ~(open & -open);
            }
        }
        return found;
    }

    void replace(Size row, Size one, Size other, Size by) {
        auto& own = terms[row];
        *std::find(own.begin(), own.end(), one) = by;
        *std::find(own.begin(), own.end(), other) = own.back();
        own.pop_back();
    }

    void substitute(const Sum& s) {
        Size made = nodes.find(s);
        if (made < 0 || used(made)) made = nodes.append(s);
        std::vector<std::tuple<Size, Size, Size>> where;
        for (const Hits& h : hits)
            for (Size sign = 0; sign < 2; sign++)
                for (Word open = h.of[sign]; open; open &= open - 1) {
                    Size at = h.word * 64 + __builtin_ctzll(open), row = at / stride, place = at % stride;
                    clear(s.base, at, sign);
                    clear(s.other, at + s.shift, sign ^ s.minus);
                    set(made, at, sign);
                    replace(row, packed(s.base, place, sign), packed(s.other, place + s.shift, sign ^ s.minus), packed(made, place, sign));
                    where.emplace_back(row, place, sign);
                }
        if (left)
            for (auto& w : where) left[std::get<0>(w)] -= nodes.depth(s.base, s.other);
        for (auto& [row, place, sign] : where) meet(made, row, place, sign, false);
        consider(made);
    }

    void run() {
        first();
        while (!open.empty()) {
            Size saved = open.begin()->first;
            Bucket& bucket = open.begin()->second;
            if (bucket.pairs.empty()) {
                open.erase(open.begin());
            } else if (!bucket.ordered) {
                order(saved, bucket);
            } else {
                std::pop_heap(bucket.pairs.begin(), bucket.pairs.end(), std::greater<Size>());
                Size pair = bucket.pairs.back();
                bucket.pairs.pop_back();
                Sum s = adder(pair);
                Size now = saves(s);
                if (now == saved) substitute(s);
                else if (now > 0) push(now, pair);
            }
        }
    }
};

// --- the rest of a row

Term joined(Nodes& nodes, Term one, Term other, bool last) {
    if (std::tie(other.place, other.minus, other.node) < std::tie(one.place, one.minus, one.node)) std::swap(one, other);
    Size turned = last && one.minus && !other.minus, differ = one.minus != other.minus && !turned;
    Size node = nodes.add({one.node, other.node, other.place - one.place, differ, turned});
    return {node, one.place, one.minus && !turned};
}

Term narrowest(Nodes& nodes, const std::vector<Term>& terms, const Size* budget) {
    using Entry = std::pair<Size, Term>;
    std::multiset<Entry> open;
    for (auto& t : terms) open.emplace(nodes.top(t), t);
    Size left = budget ? *budget : 0;
    while (open.size() > 1) {
        auto one = open.begin(), other = std::next(one);
        if (budget && nodes.depth(one->second.node, other->second.node) > left) {  // the two least deep
            auto deeper = [&](auto a, auto b) {
                return std::tie(nodes.level[a->second.node], *a) < std::tie(nodes.level[b->second.node], *b);
            };
            if (deeper(other, one)) std::swap(one, other);
            for (auto at = std::next(open.begin(), 2); at != open.end(); ++at)
                if (deeper(at, one)) other = one, one = at;
                else if (deeper(at, other)) other = at;
        }
        Term a = one->second, b = other->second;
        open.erase(one);
        open.erase(other);
        left -= nodes.depth(a.node, b.node);
        Term made = joined(nodes, a, b, open.empty());
        open.emplace(nodes.top(made), made);
    }
    return open.begin()->second;
}

struct Cheapest {
    Nodes& nodes;
    std::vector<Term> every;
    std::vector<Size> alive, price;
    Size side;

    Cheapest(Nodes& nodes, const std::vector<Term>& terms) : nodes(nodes), side(2 * terms.size()) {
        price.assign(side * side, NEVER);
        for (auto& t : terms) push(t);
    }

    void push(const Term& b) {
        Size i = every.size();
        every.push_back(b);
        for (Size j : alive) {
            const Term& a = every[j];
            bool swap = std::tie(b.place, b.minus) < std::tie(a.place, a.minus);
            Cost c = nodes.cost(swap ? b.node : a.node, swap ? a.node : b.node, std::abs(a.place - b.place), a.minus != b.minus);
            price[j * side + i] = (c.bits << 10) + c.width + std::min(a.place, b.place);
        }
        alive.push_back(i);
    }

    std::pair<Size, Size> chosen(const Size* left) const {
        Size best = NEVER, one = -1, other = -1;
        for (Size i : alive)
            for (Size j : alive)
                if (i < j && price[i * side + j] < best && (!left || nodes.depth(every[i].node, every[j].node) <= *left))
                    best = price[i * side + j], one = i, other = j;
        if (one >= 0) return {one, other};
        auto least = alive;
        auto key = [&](Size k) { return std::make_pair(nodes.level[every[k].node], k); };
        std::partial_sort(least.begin(), least.begin() + 2, least.end(), [&](Size a, Size b) { return key(a) < key(b); });
        return {least[0], least[1]};
    }

    Term sum(const Size* budget) {
        Size left = budget ? *budget : 0;
        while (alive.size() > 1) {
            auto [i, j] = chosen(budget ? &left : nullptr);
            Term a = every[i], b = every[j];
            alive.erase(std::find(alive.begin(), alive.end(), i));
            alive.erase(std::find(alive.begin(), alive.end(), j));
            left -= nodes.depth(a.node, b.node);
            push(joined(nodes, a, b, alive.empty()));
        }
        return every[alive[0]];
    }
};

}  // namespace

// Rows of terms as sums over nodes, of which there are count and may be as many more as there are terms. Arrays: low, high
// and level of every node; adders [.., 5]; terms (row, node, place, minus), those of part p from starts[p] on; left, what rows may spend on depth, or null; result [rows, 3]. Returns how many nodes there are.
extern "C" Size stage(Size columns, Size count, Size* low, Size* high, Size* level, Size* adders, Size rows, Size parts, const Size* starts,
                      const Size* row, const Size* node, const Size* place, const Size* sign, Size* left, Size* result) {
    Nodes nodes(columns, count, low, high, level, reinterpret_cast<Sum*>(adders));
    std::vector<std::vector<Term>> all(rows);
    for (Size p = 0; p < parts; p++) {
        Size from = starts[p];
        Sharing shared(nodes, rows, left, starts[p + 1] - from, row + from, node + from, place + from, sign + from);
        shared.run();
        for (Size r = 0; r < rows; r++) {
            auto& own = shared.terms[r];
            std::sort(own.begin(), own.end());
            for (Size t : own) all[r].push_back({t >> (PLACES + 1), (t >> 1) & ((1 << PLACES) - 1), t & 1});
        }
    }
    bool no_signs = nodes.no_signs();
    for (Size r = 0; r < rows; r++) {
        const Size* budget = left ? left + r : nullptr;
        Term sum{-1, 0, 0};
        if (!all[r].empty()) sum = no_signs && Size(all[r].size()) <= MOST ? Cheapest(nodes, all[r]).sum(budget) : narrowest(nodes, all[r], budget);
        result[3 * r] = sum.node;
        result[3 * r + 1] = sum.place;
        result[3 * r + 2] = sum.minus;
    }
    return nodes.count;
}
