//! What pruning goes by: how far an order was pruned, and what is found by its age.
//!
//! An order is in `orders_to_prune` once it is final, so that no move before touches that index: whether a row is in it depends on `look_at`
//! alone, which has an index anyway. The other two are entered by pruning, and by sales.

pub const PRUNED: &str = "
ALTER TABLE orders ADD COLUMN pruned bigint NOT NULL DEFAULT 0;
CREATE INDEX orders_to_prune ON orders (created_at, id) WHERE look_at IS NULL AND pruned = 0;
CREATE INDEX orders_without_timeline ON orders (created_at, id) WHERE pruned = 1;
CREATE INDEX pulls_sold ON pulls (sold_at, id) WHERE sold_at IS NOT NULL;
CREATE INDEX events_of_no_order ON events (time, id)
    WHERE kind IN ('clawback.command.rejected', 'clawback.buyback.expiring', 'clawback.buyback.expired');
";
