//! LEAD is writing this file in /work/wt/http (branch http): see LEAD-NOTE.md at the top of this worktree. Do not write it.
