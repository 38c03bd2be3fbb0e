"""What a defence is worth: experiments, cells, attacker, judge, record."""
